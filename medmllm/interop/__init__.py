"""To and from what others use: LLaVA's first layout, stock folders of either layout, model cards, their trainer."""
