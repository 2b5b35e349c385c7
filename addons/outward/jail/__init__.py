"""The jail of `outward run --jail`: what it is made of, and the program inside. Standard library only."""
