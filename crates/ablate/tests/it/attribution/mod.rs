//! Gradients and the attribution methods: golden numbers, finite differences, identities.

mod differences;
mod golden;
mod identities;
mod random;
mod surrogate;
