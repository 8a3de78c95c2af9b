"""An engine whose answers do not depend on what shares a batch."""
