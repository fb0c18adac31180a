"""Records whose text is in several columns, or in messages, become one text by a template."""
