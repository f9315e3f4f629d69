"""A JAX/Flax lab for autoencoders and variational autoencoders. Import the room that you need."""
