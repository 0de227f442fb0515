"""`repedge fit`: from a trained net and a budget to bits per layer, with the least loss that the budget allows."""
