"""What a verb does, without knowing how it is typed or printed."""
