"""What the leader does: one reconciler a kind, and the loop that feeds them."""
