//! RASP programs and their compilation to transformers with a known circuit.
