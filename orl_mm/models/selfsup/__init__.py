"""The self-supervised algorithms of the thesis: R2O and DINO."""
