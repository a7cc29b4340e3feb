"""The embedded world: a small seeded set of pedestrians in the official layouts, with truth.

`world.render_world` writes it; `vills.report.world_sheet` shows it.
"""
