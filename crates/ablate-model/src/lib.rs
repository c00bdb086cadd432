//! Transformer language models: loading, one forward pass, edits of any path.
