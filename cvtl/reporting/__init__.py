"""What is measured or found, as figures, tables, curves and pictures: on the terminal, as JSON, as one HTML page."""
