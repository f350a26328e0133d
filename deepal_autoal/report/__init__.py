"""What finished runs look like to a reader: tables, figures, and a page that holds them."""
