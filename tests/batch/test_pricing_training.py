"""What the batch job makes of a booking log, of a thin one, and of none."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from batch.pricing.arrivals import cancellations, fit_arrivals
from batch.pricing.bookings import read_bookings
from batch.pricing.features import TooManyFeatures, model_inputs, read_features, reference_fares
from batch.pricing.markets import fit_market, probability_and_slope
from batch.pricing.network import DemandNet
from batch.pricing.scores import scores_of
from batch.pricing.train import pretrain_pricing
from online.artifact import read_artifact
from online.pricing.arrays import artifact_markets, load_artifact, load_markets, pricing_capacity, pricing_views
from online.pricing.demand import logit_gradient, set_input
from online.pricing.features import overlay
from online.pricing.layout import DAY_MS, DIMENSION, FEATURES_MAX, INPUTS, PRICING_COLUMNS, WINDOW_DAYS
from online.pricing.markets import feature_names
from online.pricing.prior import published_deviation, published_mean
from online.pricing.settings import Settings
from online.tables import allocate
from simulations.airline_history import past, write_bookings
from simulations.airline_market import DAYS, WINDOW_EDGES, draw_market, draw_routes

HEAD = "flight_id,market,departs_at,asked_at,fare_cents,booked,seats_left,capacity"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "bookings.csv"
    market = draw_market(routes=draw_routes(2, 5), flights_per_route=12, seed=5, calendar_days=60)
    write_bookings(path, market, past(market, 5))
    return path


@pytest.fixture(scope="module")
def artifact(log, tmp_path_factory):
    return pretrain_pricing(log, tmp_path_factory.mktemp("artifact"), device="cpu", quiet=True, steps=60)


def test_an_artifact_is_named_by_its_content_and_read_back(log, artifact, tmp_path):
    again = pretrain_pricing(log, tmp_path, device="cpu", quiet=True, steps=60)
    assert again.id == artifact.id
    found = read_artifact(tmp_path)
    assert found.manifest["kind"] == "pricing" and artifact_markets(found) == ["R00", "R01"]
    assert [f["name"] for f in found.manifest["features"]] == ["competitor_fare", "peak", "saturday_stay"]
    assert [f["kind"] for f in found.manifest["features"]] == ["logarithm", "linear", "linear"]
    assert [f["of_flight"] for f in found.manifest["features"]] == [False, True, False]


def test_log_loss_and_calibration_of_the_tail_are_kept(artifact):
    validation = artifact.manifest["metrics"]["validation"]
    assert 0.3 < validation["log_loss"] < validation["base_log_loss"]
    assert 0.0 <= validation["calibration_error"] < 0.2
    assert sum(part["n"] for part in validation["calibration"]) == validation["n"]


def test_markets_hold_their_floor_and_inverse(artifact):
    t = artifact.tensors
    for m in range(2):
        assert np.linalg.eigvalsh(t["markets.precision"][m] - t["markets.floor"][m]).min() > -1e-9
        product = t["markets.covariance"][m] @ t["markets.precision"][m]
        np.testing.assert_allclose(product, np.eye(DIMENSION), atol=1e-8)
    assert (t["markets.window_shape"] > 0).all() and (t["markets.window_rate"] > 0).all()


def test_the_kernels_say_what_the_batch_model_says(log, artifact):
    bookings = read_bookings(log)
    references = reference_fares(bookings)
    features = read_features(bookings, references)
    x = model_inputs(bookings, features, references)
    trunk = {name: artifact.tensors[f"trunk.{name}"] for name in ("input", "bias", "mix", "utility")}
    rng = np.random.default_rng(1)
    trunk["mix"], trunk["utility"] = rng.normal(size=12), rng.normal(size=12)
    arrays = allocate(PRICING_COLUMNS, {**pricing_capacity(), "markets": 2, "flights": 1})
    load_artifact(arrays, artifact)
    load_markets(arrays, artifact, [0, 1])
    arrays["trunk.mix"][...], arrays["trunk.utility"][...] = trunk["mix"], trunk["utility"]
    p = pricing_views(arrays, Settings())
    hidden = np.stack([x @ trunk["input"].T + trunk["bias"]])[0]
    hidden = hidden / (1.0 + np.abs(hidden))
    added = np.stack([hidden @ trunk["mix"], hidden @ trunk["utility"]], axis=1)
    for row in range(0, len(bookings), 97):
        m = int(bookings.market[row])
        arrays["flights.departs_ms"][0] = bookings.departs_ms[row]
        given = np.full(FEATURES_MAX, np.nan)
        for j, feature in enumerate(features):
            given[j] = bookings.features[row, bookings.feature_names.index(feature.name)]
        overlay(p, 0, given)
        set_input(p, m, 0, float(bookings.days[row]))
        np.testing.assert_allclose(p.scratch.input, x[row], atol=1e-9)
        theta, slope = arrays["markets.mean"][m], np.zeros(DIMENSION)
        ratio = bookings.fare_cents[row] / references[m] - 1.0
        pi = logit_gradient(p.trunk, theta, p.scratch.input, ratio, slope)
        expected, gradient = probability_and_slope(theta, x[[row]], np.array([ratio]), added[[row]])
        assert pi == pytest.approx(expected[0], abs=1e-9)
        np.testing.assert_allclose(slope, gradient[0], atol=1e-7)


def test_the_net_is_the_same_model_and_falls_in_the_fare():
    rng = np.random.default_rng(2)
    theta = published_mean() + 0.3 * rng.normal(size=(3, DIMENSION))
    net = DemandNet(theta, seed=1)
    with torch.no_grad():
        net.output.copy_(torch.as_tensor(rng.normal(size=(2, 12))))
    x, market = rng.normal(size=(200, INPUTS)), rng.integers(0, 3, 200)
    trunk = net.trunk()
    a = x @ trunk["input"].T + trunk["bias"]
    a = a / (1.0 + np.abs(a))
    added = np.stack([a @ trunk["mix"], a @ trunk["utility"]], axis=1)
    last = np.ones(200)
    for ratio in np.linspace(-0.9, 3.0, 9):
        given = (torch.as_tensor(market), torch.as_tensor(x, dtype=torch.float32), torch.full((200,), ratio))
        pi = net(*given).detach().numpy()
        assert (pi <= last + 1e-6).all()
        last = pi
        for m in range(3):
            rows = market == m
            expected, _ = probability_and_slope(theta[m], x[rows], np.full(rows.sum(), ratio), added[rows])
            np.testing.assert_allclose(pi[rows], expected, atol=2e-5)


def test_damped_newton_ends_where_the_gradient_does():
    rng = np.random.default_rng(3)
    x = np.zeros((400, INPUTS))
    x[:, :3] = rng.random((400, 3))
    ratio, booked = rng.uniform(-0.5, 0.8, 400), (rng.random(400) < 0.3).astype(float)
    mean, deviation = published_mean(), published_deviation()
    # A start from which undamped steps run away.
    theta, _ = fit_market(mean + 2.0, mean, deviation, x, ratio, booked, np.zeros((400, 2)))
    pi, slope = probability_and_slope(theta, x, ratio, np.zeros((400, 2)))
    gradient = slope.T @ (booked - pi) - (theta - mean) / deviation**2
    assert np.abs(gradient).max() < 1e-2


@pytest.mark.parametrize("text", ["", HEAD + "\n", HEAD + ",feature_stay\n", None])
def test_without_a_past_published_estimates_are_the_prior(tmp_path, text):
    path = None
    if text is not None:
        path = tmp_path / "bookings.csv"
        path.write_text(text)
    artifact = pretrain_pricing(path, tmp_path / "a", device="cpu", quiet=True)
    np.testing.assert_allclose(artifact.tensors["pool.mean"][0], published_mean())
    assert artifact_markets(artifact) == [] and artifact.manifest["metrics"]["validation"] is None
    arrays = allocate(PRICING_COLUMNS, {**pricing_capacity(), "markets": 1, "flights": 1})
    load_artifact(arrays, read_artifact(tmp_path / "a"))
    load_markets(arrays, artifact, [])


def test_twenty_flights_are_enough_to_start_from(tmp_path):
    path = tmp_path / "bookings.csv"
    market = draw_market(routes=draw_routes(4, 8), flights_per_route=5, seed=8, calendar_days=60)
    write_bookings(path, market, past(market, 8))
    artifact = pretrain_pricing(path, tmp_path / "a", device="cpu", quiet=True, steps=40)
    deviation = np.sqrt(np.diagonal(artifact.tensors["markets.covariance"], axis1=1, axis2=2))
    assert (deviation[:, :4] < published_deviation()[:4]).all() and (deviation[:, :4] > 0.03).all()


def test_arrivals_find_the_rates_weekdays_and_peaks_that_made_them(tmp_path):
    rng = np.random.default_rng(4)
    lines = [HEAD + ",feature_peak"]
    day0 = 1_767_225_600_000
    for flight in range(300):
        departs, peak = day0 + (60 + flight) * DAY_MS, flight % 3 == 0
        for day in range(60):
            rate = (2.0 if day < 7 else 1.0) * (1.5 if peak else 1.0) * (1.2 if (flight % 7) == 0 else 1.0)
            for _ in range(rng.poisson(rate)):
                asked = departs - int((day + rng.random()) * DAY_MS)
                lines.append(f"F{flight},M,{departs},{asked},10000,0,50,50,{int(peak)}")
    path = tmp_path / "bookings.csv"
    path.write_text("\n".join(lines))
    bookings = read_bookings(path)
    references = reference_fares(bookings)
    found = fit_arrivals(bookings, read_features(bookings, references), references)
    weight = found.features[0].arrival_weight / found.features[0].scale  # of peak, 0 to 1
    assert np.exp(weight) == pytest.approx(1.5, rel=0.05)
    per_day = found.shape[0] / found.rate[0]
    assert per_day[0] / per_day[5] == pytest.approx(2.0, rel=0.05)
    quiet = np.median(found.weekday)
    assert found.weekday.max() / quiet == pytest.approx(1.2, rel=0.05)


@pytest.mark.parametrize("seats", [0.3, 1.0])
def test_arrivals_are_no_fewer_where_flights_were_sold_out_early_and_some_seats_came_back(tmp_path, seats):
    """240 flights of the market's past, whose requests for what is sold out are not in the log."""
    routes = [replace(r, capacity=int(r.capacity * seats), cancels=0.004) for r in draw_routes(8, 103)]
    market = draw_market(routes=routes, flights_per_route=30, seed=103, calendar_days=200)
    path = tmp_path / "bookings.csv"
    write_bookings(path, market, past(market, 103))
    bookings = read_bookings(path)
    references = reference_fares(bookings)
    found = fit_arrivals(bookings, read_features(bookings, references), references)
    ends = np.append(np.array(WINDOW_DAYS)[1:], np.inf)
    of_window = np.searchsorted(WINDOW_EDGES, np.minimum(ends, DAYS) - 1e-9, side="right")[: int((ends <= DAYS).sum())]
    ratio = [
        found.shape[m, : len(of_window)] / found.rate[m, : len(of_window)] / routes[int(name[1:])].arrivals[of_window]
        for m, name in enumerate(bookings.market_ids)
    ]
    # 0.2 to 0.8 of the truth, the later the fewer, while time counted in which they were sold out.
    mean = np.mean(ratio, axis=0)
    assert (mean > 0.8).all() and (mean < 1.25).all(), mean


def test_personal_data_and_too_many_features_are_refused(tmp_path):
    path = tmp_path / "bookings.csv"
    row = "F,M,2026-03-01,2026-02-01,9900,0,20,50"
    path.write_text(f"{HEAD},feature_user_age\n{row},31\n")
    with pytest.raises(ValueError, match="personal data"):
        pretrain_pricing(path, tmp_path / "a", device="cpu", quiet=True)
    many = FEATURES_MAX + 1
    path.write_text(f"{HEAD},{','.join(f'feature_{i}' for i in range(many))}\n{row}{',1' * many}\n")
    with pytest.raises(TooManyFeatures, match="at most 12"):
        pretrain_pricing(path, tmp_path / "a", device="cpu", quiet=True)


@pytest.mark.parametrize(
    ("head", "row", "allowed"),
    [
        (HEAD + ",feature_stay,feature_peak", "F,M,2026-03-01,2026-02-01,9900,0,20,50,1,0", ("peak", "stay")),
        (HEAD + ",feature_stay", "", ("stay",)),
        (HEAD, "", None),
        ("", "", None),
    ],
    ids=["never varied", "a header alone", "no feature columns", "an empty file"],
)
def test_features_that_a_log_names_are_allowed_live_whatever_it_says_of_them(tmp_path, head, row, allowed):
    path = tmp_path / "bookings.csv"
    path.write_text(f"{head}\n{row}\n" if row else head)
    artifact = pretrain_pricing(path, tmp_path / "a", device="cpu", quiet=True)
    assert feature_names(read_artifact(tmp_path / "a")) == allowed
    assert artifact.manifest["features"] == []  # nothing to scale them by: they are watched
    assert feature_names(None) is None


def test_scores_know_a_calibrated_model():
    rng = np.random.default_rng(5)
    pi = rng.random(20_000)
    booked = (rng.random(20_000) < pi).astype(float)
    good, bad = scores_of(pi, booked), scores_of(1.0 - pi, booked)
    assert good.calibration_error < 0.02 < 0.4 < bad.calibration_error
    assert good.log_loss < good.base_log_loss < bad.log_loss


@pytest.mark.parametrize("wrote_after", [False, True])
def test_seats_that_come_back_are_found_however_the_log_counts_them(tmp_path, wrote_after):
    rng = np.random.default_rng(6)
    lines, came_back = [HEAD], 0
    for flight in range(40):
        left = 50
        for request in range(40):
            if left < 50 and rng.random() < 0.05:
                left, came_back = left + 1, came_back + 1
            booked = int(rng.random() < 0.4 and left > 0)
            shown = left - booked if wrote_after else left
            asked = 1_767_225_600_000 + request * DAY_MS
            lines.append(f"F{flight},M,{1_767_225_600_000 + 60 * DAY_MS},{asked},10000,{booked},{shown},50")
            left -= booked
    path = tmp_path / "b.csv"
    path.write_text("\n".join(lines))
    per_market, pool = cancellations(read_bookings(path))
    assert per_market[0, 0] == pytest.approx(came_back + 0.5)
    assert pool[0] / pool[1] == pytest.approx(per_market[0, 0] / per_market[0, 1])
