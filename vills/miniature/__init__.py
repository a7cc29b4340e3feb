"""The embedded world: a small seeded set of pedestrians in the official layouts, with truth.

`world.render_world` writes it; `contact_sheet.build_contact_sheet` shows it.
"""
