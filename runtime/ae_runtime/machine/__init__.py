"""What a bundle gives on this machine: golden vectors, speed, and its limits."""
