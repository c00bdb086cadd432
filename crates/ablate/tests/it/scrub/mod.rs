//! Causal scrubbing: toys with known expectations, illegal hypotheses, brute force, path patching, a planted circuit.

mod brute;
mod draws;
mod illegal;
mod paths;
mod planted;
mod same_as;
mod toys;
