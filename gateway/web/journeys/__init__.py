"""The pages of journeys: drawings with counts, courses of cases, simulations."""
