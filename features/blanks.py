"""What is passed over around a value of a lead, wherever the value comes from."""

BLANKS = " \t\r\n\f\v\u00a0\u202f\ufeff"
