"""What measurements say: plan, order, proof. Pure: no process, service or file."""
