"""An app that counts."""
