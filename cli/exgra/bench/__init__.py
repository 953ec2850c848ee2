"""What `exgra bench` measures."""
