"""Settings: ranges hold however an object is made, unknown fields are refused, and errors name the field."""

from dataclasses import FrozenInstanceError, replace
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter

from interpdisc_core.errors import PlanError
from interpdisc_core.plan import Plan, parse_plan, plan_to_json
from interpdisc_core.settings import parse_settings, settings


@settings
class Circle:
    kind: Literal["circle"] = "circle"
    radius: Annotated[float, Field(gt=0, le=10)] = 1.0
    corners: Annotated[int, Field(ge=3)] | None = None


@settings
class SquareShape:
    kind: Literal["square"] = "square"
    side: Annotated[int, Field(ge=1, lt=100)] = 1
    name: str = ""

    def __post_init__(self) -> None:
        if self.name == "round":
            raise PlanError("square: a square is not round.")


@settings
class Drawing:
    shapes: tuple[Annotated[Circle | SquareShape, Field(discriminator="kind")], ...] = ()
    copies: Annotated[int, Field(ge=1)] = 1


DRAWING: TypeAdapter[Drawing] = TypeAdapter(Drawing)


@given(radius=st.floats(-20, 20), corners=st.none() | st.integers(-3, 6))
def test_ranges_hold_however_an_object_is_made(radius: float, corners: int | None) -> None:
    """By the class, by `replace`, and from JSON."""
    is_valid = 0 < radius <= 10 and (corners is None or corners >= 3)
    payload = {"kind": "circle", "radius": radius, "corners": corners}
    makers: list[Any] = [
        lambda: Circle(radius=radius, corners=corners),
        lambda: replace(Circle(), radius=radius, corners=corners),
        lambda: parse_settings(DRAWING, {"shapes": [payload]}, "drawing").shapes[0],
    ]
    for make in makers:
        if is_valid:
            assert make() == Circle(radius=radius, corners=corners)
        else:
            with pytest.raises(PlanError):
                make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Circle(radius=0), "circle: radius must be above 0 and at most 10, not 0."),
        (lambda: Circle(corners=2), "circle: corners must be at least 3, not 2."),
        (lambda: SquareShape(side=100), "square: side must be at least 1 and below 100, not 100."),
        (lambda: Drawing(copies=0), "drawing: copies must be at least 1, not 0."),
        (lambda: SquareShape(name="round"), "square: a square is not round."),
        (lambda: Plan(picks=0), "plan: picks must be at least 1, not 0."),
    ],
)
def test_an_error_names_the_field_and_its_range(make: Any, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"copys": 2}, "file.json: there is no field 'copys'; did you mean 'copies'."),
        ({"shapes": [{"kind": "circle", "radios": 2}]}, "no field 'shapes.0.circle.radios'; did you mean 'radius'."),
        ({"unlike": 2}, "file.json: there is no field 'unlike'."),
        ({"shapes": [{"kind": "star"}]}, "there is no kind 'star'; choose from 'circle', 'square'."),
        ({"copies": "many"}, "file.json: copies: "),
        ({"shapes": [{"kind": "square", "name": "round"}]}, "square: a square is not round."),
        ([], "file.json: the whole: "),
    ],
)
def test_json_that_is_not_valid_is_refused_with_the_place(payload: Any, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse_settings(DRAWING, payload, "file.json")
    assert message in str(caught.value)
    assert str(caught.value).startswith("file.json: ")


def test_settings_are_frozen_and_have_keyword_arguments_only() -> None:
    with pytest.raises(FrozenInstanceError):
        Circle().radius = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Circle("circle")  # type: ignore[misc]


def test_a_plan_is_read_back_from_its_json() -> None:
    plan = Plan(picks=7, explain=0)
    assert parse_plan(plan_to_json(plan)) == plan
    assert parse_plan({}) == Plan()
