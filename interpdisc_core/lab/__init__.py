"""The evaluation lab: does a method find what matters in labelled images, and better than others?"""
