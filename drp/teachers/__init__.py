"""Teachers: who splits a student's thinking into steps and prunes them."""
