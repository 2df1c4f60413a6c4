"""Parts that several models share: sums over neighbours, residual layers, readouts, normalisation."""
