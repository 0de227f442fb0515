"""Training: RepVGG, batch norms, quantizers, data sets and the loop. The lowest room: it imports no other."""
