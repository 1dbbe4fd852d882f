"""How a model stands pictures that are turned, blurred, noisy, too bright: in the spirit of ImageNet-C.

Source: D. Hendrycks and T. Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations,
arXiv 1903.12261.
"""
