//! Matrix products and the few kernels a decoder needs, in f32 and f64.
