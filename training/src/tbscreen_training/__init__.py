"""Fits InceptionV3 to labelled chest radiographs and publishes it as a bundle.

split → fit → fine-tune → export → evaluate → publish, each a step over one run directory.
"""
