"""The parts of a deployment. Each owns the resources of one thing; the stacks only wire them together."""
