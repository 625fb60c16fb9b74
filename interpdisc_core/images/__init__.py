"""The bytes of a file to pixels (h, w, 3) uint8, whatever the format.

Start at `load.load_input_image` (a URI to pixels) or `decode.decode` (bytes to pixels). Science formats are read by GDAL in a
process of its own (`science_formats`, `gdal_process`); `stretch`, `demosaic` and `special_values` bring their values
to 8 bits, `radiometry` names what the values mean, `artefacts` finds images without content, `tiles` cuts large ones.

May import `sources`, `metadata`, `storage` and what is below them. Owns nothing on disk but the URI fragments of
`uri_fragments`.
"""
