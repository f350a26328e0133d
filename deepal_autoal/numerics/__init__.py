"""Numbers and arrays: devices, precision, random streams, softmax, dropout masks, top scores."""
