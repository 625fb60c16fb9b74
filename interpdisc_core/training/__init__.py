"""Training of up-convolutional inverters: the examples on disk, the codes made of them, the fit, its scores."""
