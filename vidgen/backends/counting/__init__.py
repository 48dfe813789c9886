"""What a model takes, counted: its real classes at full size on the meta device, where nothing takes memory or time."""
