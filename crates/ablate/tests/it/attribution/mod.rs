//! Gradients and the attribution methods: golden numbers, finite differences, identities.

mod differences;
mod golden;
mod identities;
mod masks;
mod methods;
mod random;
mod surrogate;
