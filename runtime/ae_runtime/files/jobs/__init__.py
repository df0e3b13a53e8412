"""Work from file to file: computed in order, resumed, complete or not there."""
