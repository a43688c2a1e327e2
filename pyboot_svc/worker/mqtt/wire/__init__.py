"""The data plane: PUBLISH and its acknowledgements, as bytes."""
