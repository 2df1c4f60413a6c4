"""Pure functions of r and r̂: cutoffs, radial functions, spherical harmonics, couplings, symmetric products."""
