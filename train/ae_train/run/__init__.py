"""The folder of a training, while it grows and when it is finished."""
