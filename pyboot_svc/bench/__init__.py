"""`pyboot bench`: what a configured model costs, by the parts that a worker is made of."""
