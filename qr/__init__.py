"""Links and symbols that stand on goods: GS1 Digital Link and QR. A leaf: imports no other room."""
