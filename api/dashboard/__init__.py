"""The operators' dashboard: whether it learns, whether that helps, and why it decided what it decided."""
