"""Events: decisions as recorded, on their way to the store and out of it again."""
