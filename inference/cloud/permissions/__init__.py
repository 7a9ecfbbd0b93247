"""The permissions of a deployment: documents for administrators, deployers and users, and the boundary of its roles."""
