"""Role indices are an interface: exported weights and features rely on them."""

from vills.models.roles import (
    AREA_ROLES,
    COARSE,
    NUM_SPATIAL,
    TEMPORAL,
    build_all_roles,
    build_roles,
)


def test_indices_stay_as_published() -> None:
    assert COARSE == 0
    assert AREA_ROLES == {"upper_body": 1, "lower_body": 2, "head": 3}
    assert TEMPORAL == NUM_SPATIAL == 4


def test_roles_are_named_in_the_order_of_a_feature() -> None:
    assert build_roles(["head"], temporal=True) == {"coarse": 0, "head": 3, "temporal": 4}
    assert list(build_roles(["head", "upper_body"], temporal=False)) == [
        "coarse",
        "head",
        "upper_body",
    ]
    assert list(build_all_roles(7))[3:] == ["head", "temporal", "free_5", "free_6"]
    assert list(build_all_roles(4).values()) == [0, 1, 2, 3]
