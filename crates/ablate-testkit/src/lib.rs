//! Golden data, tiny models and tolerances for the tests.
