"""The shipped model against measured tables: errors, baselines, rows. Nothing is fitted."""
