"""Measurements that anyone can repeat on data of their own: what `groundswell bench` runs."""
