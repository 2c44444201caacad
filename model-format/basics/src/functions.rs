//! The elementwise functions: one table of names, formulas and parameters.
