"""Every end of a message: published, spooled, refused, dead, or nothing to publish; and then its
acknowledgement, in order of arrival."""
