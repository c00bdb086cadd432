//! Find, test and hand over circuits in transformer language models.
