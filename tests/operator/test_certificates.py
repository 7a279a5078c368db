from datetime import UTC, datetime, timedelta

from energaizer_operator import certificates
from energaizer_operator.certificates import KeyPair, Material, make, renew

NAMES = ("energaizer-webhook.energaizer-system.svc",)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_a_fresh_leaf_is_issued_by_a_fresh_authority_for_ninety_days() -> None:
    material = make(NAMES, NOW)
    assert certificates.is_issued_by(material.leaf.certificate, material.authority.certificate)
    assert certificates.dns_names(material.leaf.certificate) == NAMES
    assert certificates.expiry(material.leaf.certificate) == NOW + 90 * DAY
    assert certificates.expiry(material.authority.certificate) == NOW + 3650 * DAY
    assert material.trusted == material.authority.certificate


def test_nothing_is_renewed_before_it_is_due() -> None:
    material = make(NAMES, NOW)
    assert renew(material, NAMES, NOW + 59 * DAY, material.trusted) is not None
    assert renew(material, NAMES, NOW + 59 * DAY, material.trusted) == material


def test_the_leaf_is_renewed_after_two_thirds_of_its_life_by_the_same_authority() -> None:
    old = make(NAMES, NOW)
    new = renew(old, NAMES, NOW + 61 * DAY, old.trusted)
    assert new.leaf != old.leaf
    assert new.authority == old.authority
    assert certificates.expiry(new.leaf.certificate) == NOW + (61 + 90) * DAY


def test_another_service_name_needs_another_leaf() -> None:
    old = make(NAMES, NOW)
    new = renew(old, (*NAMES, "other.svc"), NOW, old.trusted)
    assert certificates.dns_names(new.leaf.certificate) == (*NAMES, "other.svc")


def test_a_new_authority_signs_only_when_it_is_trusted_and_the_old_one_stays_in_the_bundle() -> (
    None
):
    old = make(NAMES, NOW)
    later = NOW + 2434 * DAY  # two thirds of ten years
    leaf = certificates.make_leaf(old.authority, NAMES, later - DAY)
    old = Material(leaf, old.authority, old.trusted)

    first = renew(old, NAMES, later, old.trusted)
    assert first.authority != old.authority
    assert first.leaf == old.leaf
    assert certificates.split(first.trusted) == [
        first.authority.certificate,
        old.authority.certificate,
    ]

    unknown = renew(first, NAMES, later, b"")
    assert unknown == first

    second = renew(first, NAMES, later, first.authority.certificate)
    assert certificates.is_issued_by(second.leaf.certificate, first.authority.certificate)
    assert second.trusted == first.trusted


def test_an_expired_authority_leaves_the_bundle() -> None:
    old = make(NAMES, NOW)
    new = certificates.make_authority("new", NOW + 3000 * DAY)
    late = NOW + 3651 * DAY
    leaf = certificates.make_leaf(new, NAMES, late - DAY)
    both = Material(leaf, new, new.certificate + old.authority.certificate)
    assert renew(both, NAMES, late, new.certificate).trusted == new.certificate


def test_what_cannot_serve_is_replaced_and_keeps_valid_authorities_in_the_bundle() -> None:
    sound = make(NAMES, NOW)
    other = make(NAMES, NOW)
    foreign_key = Material(
        KeyPair(sound.leaf.certificate, other.leaf.key), sound.authority, sound.trusted
    )
    garbage = Material(KeyPair(b"no", b"pem"), sound.authority, sound.trusted)
    for broken in (foreign_key, garbage):
        assert not certificates.is_sound(broken, NOW)
        mended = renew(broken, NAMES, NOW, b"")
        assert certificates.is_sound(mended, NOW)
        assert certificates.contains(mended.trusted, sound.authority.certificate)
    assert certificates.is_sound(renew(None, NAMES, NOW, b""), NOW)
    assert not certificates.is_sound(sound, NOW + 91 * DAY)
    assert not certificates.is_sound(Material(sound.leaf, sound.authority, b"junk"), NOW)


def test_an_expired_leaf_is_replaced_by_the_authority_that_callers_know() -> None:
    old = make(NAMES, NOW)
    new = renew(old, NAMES, NOW + 100 * DAY, b"")
    assert new.authority == old.authority
    assert new.trusted == old.trusted
    assert certificates.is_sound(new, NOW + 100 * DAY)


def test_an_unreadable_bundle_contains_nothing() -> None:
    authority = make(NAMES, NOW).trusted
    assert not certificates.contains(b"", authority)
    assert not certificates.contains(b"junk", authority)
    assert not certificates.contains(authority, b"junk")
